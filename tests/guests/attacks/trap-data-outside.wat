;; Its first bytes lie outside of its memory.
(data (i32.const 0x7ffffff0) "outside")
