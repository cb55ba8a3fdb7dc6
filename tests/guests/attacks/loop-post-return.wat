;; Answers well and never returns from cleaning up.
(func (export "@post-decide") (param i32)
  (loop $again (br $again)))
