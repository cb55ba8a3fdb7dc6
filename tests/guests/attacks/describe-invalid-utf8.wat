;; Has a name that is no text.
(func (export "@describe") (result i32)
  (i32.store (i32.const 256) (i32.const 0xfffefdfc))
  (i32.const 1024))
