@group(0) @binding(7) var<storage, read> valid: array<u32>;
@group(0) @binding(6) var<storage, read> valid: array<u32>;
