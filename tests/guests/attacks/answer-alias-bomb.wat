;; Seven thousand suggestions that are the same 60 KB: 420 MB for a host that copies.
(func (export "@decide") (param i32) (result i32) (local $n i32)
  (memory.fill (i32.const 65536) (i32.const 0x20) (i32.const 60000))
  (loop $again
    (i32.store
      (i32.add (i32.const 4096) (i32.mul (local.get $n) (i32.const 8)))
      (i32.const 65536))
    (i32.store
      (i32.add (i32.const 4100) (i32.mul (local.get $n) (i32.const 8)))
      (i32.const 60000))
    (br_if $again
      (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 7000))))
  (i32.store (i32.const 3132) (i32.const 4096))
  (i32.store (i32.const 3136) (i32.const 7000))
  (i32.const 3072))
