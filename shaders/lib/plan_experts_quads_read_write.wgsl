// In a buffer that the same dispatch writes to: WebGPU wants every binding of it read-write.
@group(0) @binding(1) var<storage, read_write> experts: array<vec4<u32>>;
