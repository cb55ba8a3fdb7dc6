;; Has two thousand million parameters.
(func (export "@describe") (result i32)
  (i32.store (i32.const 1052) (i32.const 0x7fffffff))
  (i32.const 1024))
