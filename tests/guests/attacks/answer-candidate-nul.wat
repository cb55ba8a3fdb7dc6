;; A repair that was offered, and a NUL behind it.
(func (export "@decide") (param i32) (result i32)
  (i32.store (i32.const 3092) (i32.const 16))
  (i32.const 3072))
