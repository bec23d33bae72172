use proptest::prelude::*;

use super::*;

const MIB: u64 = 1024 * 1024;

#[test]
fn no_object_has_more_parts_than_s3_takes() {
    for (size, expected) in [
        (1, 8 * MIB),
        (80_000 * MIB, 8 * MIB),
        (80_000 * MIB + 1, 9 * MIB),
        (10_000 * PART_BYTES_MAX, PART_BYTES_MAX),
    ] {
        let bytes = part_bytes(size, 8 * MIB).expect("it can be copied");
        assert_eq!(bytes, expected, "{size}");
        assert!(size.div_ceil(bytes) <= PARTS_MAX);
    }
    let refused = part_bytes(10_000 * PART_BYTES_MAX + 1, 8 * MIB);
    assert!(matches!(refused, Err(CopyFailure::TooLarge(_))), "{refused:?}");
}

proptest! {
    #[test]
    fn parts_are_the_object_and_their_checksums_its_checksum(
        bytes in proptest::collection::vec(any::<u8>(), 1..2_000),
        part_bytes in 1..700_u64,
    ) {
        let parts = parts(bytes.len() as u64, part_bytes);
        let mut joined = Vec::new();
        let mut stored = BTreeMap::new();
        for (index, part) in parts.iter().enumerate() {
            prop_assert_eq!(part.number as usize, index + 1);
            let range = &bytes[part.first as usize..(part.first + part.bytes) as usize];
            joined.extend_from_slice(range);
            let crc64_nvme = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, range);
            stored.insert(part.number, Stored { etag: String::new(), bytes: part.bytes, crc64_nvme });
        }
        prop_assert_eq!(combined_crc(&parts, &stored), crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes));
        prop_assert_eq!(joined, bytes);
    }
}
