;; One suggestion of eight megabytes.
(memory (export "memory") 200)
(func (export "@decide") (param i32) (result i32)
  (memory.fill (i32.const 131072) (i32.const 0x20) (i32.const 8000000))
  (i32.store (i32.const 4096) (i32.const 131072))
  (i32.store (i32.const 4100) (i32.const 8000000))
  (i32.store (i32.const 3132) (i32.const 4096))
  (i32.store (i32.const 3136) (i32.const 1))
  (i32.const 3072))
