// A group is as good as the sum of its two best columns.
fn group_key(first: i32, second: i32) -> i32 {
    if (second == EXCLUDED) {
        return first;
    }
    let sum = settled(settled(vec4(value_of(first))) + settled(vec4(value_of(second))));
    return select(key_of(sum).x, LAST, first == LAST || second == LAST);
}
