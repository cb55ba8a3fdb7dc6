;; A classification that there is not.
(func (export "@decide") (param i32) (result i32)
  (i32.store8 (i32.const 3081) (i32.const 9))
  (i32.const 3072))
