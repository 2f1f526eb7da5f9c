module vanadium.io/tests/verifier

go 1.26.0
