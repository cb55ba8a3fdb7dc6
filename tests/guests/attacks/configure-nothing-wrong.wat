;; Refuses its settings and names no error.
(func (export "@configure") (param i32 i32) (result i32)
  (i32.store8 (i32.const 2048) (i32.const 1))
  (i32.const 2048))
