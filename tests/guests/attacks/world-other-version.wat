;; Exports the decision of another contract.
(component
  (instance $i)
  (export "dbmedic:policy/decision@0.3.0" (instance $i)))
