;; A confidence that is not a number.
(func (export "@decide") (param i32) (result i32)
  (f64.store (i32.const 3104) (f64.const nan))
  (i32.const 3072))
