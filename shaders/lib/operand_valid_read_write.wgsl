// In a buffer that the same dispatch writes to: WebGPU wants every binding of it read-write.
@group(0) @binding(6) var<storage, read_write> valid: array<u32>;
