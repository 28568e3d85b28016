var<workgroup> buckets: array<u32, WIDTH>;

// How many of the invocations before this one have its bucket. All of a workgroup come here together.
fn rank_among(local: u32, bucket: u32) -> u32 {
    buckets[local] = bucket;
    workgroupBarrier();
    var rank = 0u;
    for (var i = 0u; i < local; i++) {
        rank += u32(buckets[i] == bucket);
    }
    return rank;
}
