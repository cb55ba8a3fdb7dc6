;; An honest refusal.
(func (export "@decide") (param i32) (result i32)
  (i32.store (i32.const 3080) (i32.const 304))
  (i32.store (i32.const 3084) (i32.const 14))
  (i32.store (i32.const 3088) (i32.const 320))
  (i32.store (i32.const 3092) (i32.const 11))
  (i32.store8 (i32.const 3072) (i32.const 1))
  (i32.const 3072))
