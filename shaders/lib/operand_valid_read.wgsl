@group(0) @binding(7) var<storage, read> valid: array<u32>;
