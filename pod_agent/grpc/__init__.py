"""gRPC's server side over HTTP/2, within limits, without a protobuf library.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md

A method is an async function of a `Call`. It reads the client's messages with `call.message()`, sends answers
with `call.send()`, and returns when the call is complete, or raises GrpcError. So unary methods and all kinds
of streams have one form; `unary` makes the simplest of a function from bytes to bytes. `messages` writes and
reads the fields of protobuf messages.
"""
