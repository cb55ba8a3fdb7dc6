;; A list of two thousand million reasons.
(func (export "@decide") (param i32) (result i32)
  (i32.store (i32.const 3128) (i32.const 0x7fffffff))
  (i32.const 3072))
