;; Exports the right names with other types.
(component
  (core module $m (func (export "f")))
  (core instance $c (instantiate $m))
  (func $f (canon lift (core func $c "f")))
  (instance $i
    (export "describe" (func $f))
    (export "configure" (func $f))
    (export "decide" (func $f)))
  (export "dbmedic:policy/decision@0.2.0" (instance $i)))
