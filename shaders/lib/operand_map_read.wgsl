@group(0) @binding(7) var<storage, read> map: array<u32>;
