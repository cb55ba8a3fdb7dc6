;; Has a name of two lines.
(func (export "@describe") (result i32)
  (i32.store8 (i32.const 258) (i32.const 10))
  (i32.const 1024))
