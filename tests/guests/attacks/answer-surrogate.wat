;; A reason with half a character of UTF-16.
(func (export "@decide") (param i32) (result i32)
  (i32.store (i32.const 320) (i32.const 0x2080a0ed))
  (i32.const 3072))
