;; The answer lies outside of its memory.
(func (export "@decide") (param i32) (result i32)
  (i32.const 0xfffffff0))
