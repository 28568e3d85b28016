@group(0) @binding(6) var<storage, read> valid: array<u32>;
