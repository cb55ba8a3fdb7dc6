;; Exports the right name with nothing in it.
(component
  (instance $i)
  (export "dbmedic:policy/decision@0.2.0" (instance $i)))
