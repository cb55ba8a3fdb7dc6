module policy

go 1.25

require go.bytecodealliance.org/pkg v0.0.0

// What the bindings need lies in this folder: nothing is downloaded.
replace go.bytecodealliance.org/pkg => ./bytecodealliance
