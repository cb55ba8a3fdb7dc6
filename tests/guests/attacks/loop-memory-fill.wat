;; Fills its memory for ever: long single instructions.
(memory (export "memory") 240)
(func (export "@decide") (param i32) (result i32)
  (loop $again
    (memory.fill (i32.const 131072) (i32.const 7) (i32.const 15000000))
    (br $again))
  (unreachable))
