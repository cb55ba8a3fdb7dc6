;; Has three hundred parameters, all of them empty.
(func (export "@describe") (result i32)
  (i32.store (i32.const 1048) (i32.const 8192))
  (i32.store (i32.const 1052) (i32.const 300))
  (i32.const 1024))
