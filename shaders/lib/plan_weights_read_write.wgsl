// In a buffer that the same dispatch writes to: WebGPU wants every binding of it read-write.
@group(0) @binding(11) var<storage, read_write> weights: array<u32>;
