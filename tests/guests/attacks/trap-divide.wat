;; Divides by zero.
(func (export "@decide") (param i32) (result i32)
  (drop (i32.div_u (i32.const 1) (i32.load (i32.const 4096))))
  (i32.const 3072))
