;; Has a parameter whose default is not a number.
(func (export "@describe") (result i32)
  (i32.store (i32.const 1048) (i32.const 8192))
  (i32.store (i32.const 1052) (i32.const 1))
  (i32.store (i32.const 8192) (i32.const 256))
  (i32.store (i32.const 8196) (i32.const 6))
  (i32.store8 (i32.const 8208) (i32.const 2))
  (f64.store (i32.const 8216) (f64.const nan))
  (i32.const 1024))
