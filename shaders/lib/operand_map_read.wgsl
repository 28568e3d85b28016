@group(0) @binding(6) var<storage, read> map: array<u32>;
