;; Has no name.
(func (export "@describe") (result i32)
  (i32.store (i32.const 1028) (i32.const 0))
  (i32.const 1024))
