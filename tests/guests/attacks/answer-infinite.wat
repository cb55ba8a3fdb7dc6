;; A confidence without end.
(func (export "@decide") (param i32) (result i32)
  (f64.store (i32.const 3104) (f64.const inf))
  (i32.const 3072))
