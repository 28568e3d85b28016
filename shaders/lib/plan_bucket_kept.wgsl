// What the capacity has left: `inverse` holds each pair's bucket until its slot is known.
fn bucket_of(item: Item) -> u32 {
    return inverse[inverse_index(item.token, item.choice)];
}
