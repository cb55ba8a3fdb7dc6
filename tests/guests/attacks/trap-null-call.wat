;; Calls a function that is not there.
(type $nothing (func))
(table 1 funcref)
(func (export "@decide") (param i32) (result i32)
  (call_indirect (type $nothing) (i32.const 0))
  (i32.const 3072))
