;; An escalation level that there is not.
(func (export "@decide") (param i32) (result i32)
  (i32.store8 (i32.const 3082) (i32.const 255))
  (i32.const 3072))
