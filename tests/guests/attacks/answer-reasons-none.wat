;; No reason at all.
(func (export "@decide") (param i32) (result i32)
  (i32.store (i32.const 3128) (i32.const 0))
  (i32.const 3072))
