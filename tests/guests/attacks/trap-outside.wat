;; Reads outside of its memory.
(func (export "@decide") (param i32) (result i32)
  (drop (i32.load (i32.const 0x7fffff00)))
  (i32.const 3072))
