fn put(item: Item, bucket: u32, position: u32) {
    let slot = put_pair(item.token * params.choices + item.choice, bucket, position);
    inverse[inverse_index(item.token, item.choice)] = slot;
}
