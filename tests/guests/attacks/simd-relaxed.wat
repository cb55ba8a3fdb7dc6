;; Uses instructions whose result depends on the processor.
(func (export "@decide") (param i32) (result i32)
  (drop (i32x4.extract_lane 0
    (i32x4.relaxed_trunc_f32x4_s (v128.const f32x4 1 2 3 nan))))
  (i32.const 3072))
