;; A list that lies outside of its memory.
(func (export "@decide") (param i32) (result i32)
  (i32.store (i32.const 3124) (i32.const 0x7ffffff0))
  (i32.const 3072))
