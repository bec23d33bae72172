//! Firehose, as one who puts records sees it, held against
//! <https://docs.aws.amazon.com/firehose/latest/APIReference/>.

use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::{BufferingHints, ExtendedS3DestinationConfiguration, Record};
use aws_sdk_firehose::types::{DeliveryStreamStatus, DeliveryStreamType};
use local_cloud::{CloudSettings, LocalCloud, Rule};

use crate::{REGION, Target, refusal, unique};

/// A bucket, and a delivery stream into it under `in/`.
async fn stream(target: &Target) -> (String, String) {
    let (bucket, name) = (target.bucket().await, unique("delivery"));
    let partition = if target.region.starts_with("cn-") {
        "aws-cn"
    } else {
        "aws"
    };
    let destination = ExtendedS3DestinationConfiguration::builder()
        .role_arn(format!("arn:{partition}:iam::123456789012:role/firehose"))
        .bucket_arn(format!("arn:{partition}:s3:::{bucket}"))
        .prefix("in/")
        .buffering_hints(
            BufferingHints::builder()
                .interval_in_seconds(60)
                .size_in_mbs(1)
                .build(),
        )
        .build()
        .expect("complete");
    let create = target
        .firehose
        .create_delivery_stream()
        .delivery_stream_name(&name);
    let create = create.extended_s3_destination_configuration(destination);
    let arn = Box::pin(create.send())
        .await
        .expect("created")
        .delivery_stream_arn
        .expect("an ARN");
    assert!(
        arn.starts_with(&format!("arn:{partition}:firehose:{}:", target.region)),
        "{arn}"
    );
    assert!(arn.ends_with(&format!(":deliverystream/{name}")), "{arn}");
    (bucket, name)
}

fn record(data: impl Into<Vec<u8>>) -> Record {
    Record::builder()
        .data(Blob::new(data))
        .build()
        .expect("data is set")
}

/// Keys and bytes of what was delivered.
async fn delivered(target: &Target, bucket: &str) -> Vec<(String, Vec<u8>)> {
    let listed = target
        .s3
        .list_objects_v2()
        .bucket(bucket)
        .prefix("in/")
        .send()
        .await;
    let mut objects = Vec::new();
    for object in listed.expect("listed").contents() {
        let key = object.key().expect("a key").to_owned();
        let bytes = target.get(bucket, &key).await;
        objects.push((key, bytes));
    }
    objects
}

#[tokio::test]
async fn records_are_delivered_one_behind_the_other_under_the_hour() {
    let target = Target::start_embedded(REGION).await;
    let (bucket, name) = stream(&target).await;
    let put = target.firehose.put_record_batch().delivery_stream_name(&name);
    let put = put.records(record("{\"n\":1}\n")).records(record("{\"n\":2}\n"));
    let answer = put.send().await.expect("taken");
    assert_eq!((answer.failed_put_count, answer.encrypted), (0, Some(false)));
    let ids: Vec<_> = answer
        .request_responses
        .iter()
        .filter_map(|one| one.record_id())
        .collect();
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1]);
    let put = target
        .firehose
        .put_record()
        .delivery_stream_name(&name)
        .record(record("alone"));
    assert!(!put.send().await.expect("taken").record_id.is_empty());

    let mut objects = delivered(&target, &bucket).await;
    objects.sort_by_key(|(_, bytes)| bytes.len());
    let [(_, alone), (key, together)] = &objects[..] else {
        panic!("two objects: {objects:?}");
    };
    assert_eq!(
        (&alone[..], &together[..]),
        (&b"alone"[..], &b"{\"n\":1}\n{\"n\":2}\n"[..])
    );
    // in/YYYY/MM/DD/HH/<stream>-<version>-<time>-<uuid>
    let parts: Vec<&str> = key.split('/').collect();
    assert_eq!(parts.len(), 6, "{key}");
    assert_eq!(
        parts[1..5].iter().map(|part| part.len()).collect::<Vec<_>>(),
        [4, 2, 2, 2],
        "{key}"
    );
    assert!(parts[5].starts_with(&format!("{name}-1-")), "{key}");
}

#[tokio::test]
async fn a_stream_is_described_listed_and_deleted() {
    let target = Target::start_embedded(REGION).await;
    let (bucket, name) = stream(&target).await;
    let describe = || {
        target
            .firehose
            .describe_delivery_stream()
            .delivery_stream_name(&name)
            .send()
    };
    let description = describe()
        .await
        .expect("there")
        .delivery_stream_description
        .expect("described");
    assert_eq!(description.delivery_stream_status, DeliveryStreamStatus::Active);
    assert_eq!(description.delivery_stream_type, DeliveryStreamType::DirectPut);
    let destination = description.destinations[0]
        .extended_s3_destination_description
        .as_ref();
    let destination = destination.expect("a bucket");
    assert!(destination.bucket_arn.ends_with(&bucket));
    assert_eq!(destination.prefix.as_deref(), Some("in/"));

    let listed = target
        .firehose
        .list_delivery_streams()
        .send()
        .await
        .expect("listed");
    assert_eq!(listed.delivery_stream_names, [name.as_str()]);
    let delete = target
        .firehose
        .delete_delivery_stream()
        .delivery_stream_name(&name);
    delete.send().await.expect("deleted");
    assert_eq!(
        refusal(describe().await),
        (400, "ResourceNotFoundException".to_owned())
    );
}

#[tokio::test]
async fn limits_are_firehoses() {
    let target = Target::start_embedded(REGION).await;
    let (bucket, name) = stream(&target).await;
    let put = |records: Vec<Record>| {
        let put = target.firehose.put_record_batch().delivery_stream_name(&name);
        put.set_records(Some(records)).send()
    };
    let largest = vec![b'x'; 1_024_000];
    let too_large = vec![b'x'; 1_024_001];
    let validation = (400, "ValidationException".to_owned());
    assert_eq!(refusal(put(vec![]).await), validation);
    assert_eq!(refusal(put(vec![record("x"); 501]).await), validation);
    assert_eq!(refusal(put(vec![record(too_large)]).await), validation);
    // 4 MiB are 4,194,304 bytes: four of the largest fit, with 98,304 more.
    let mut four: Vec<_> = (0..4).map(|_| record(largest.clone())).collect();
    four.push(record(vec![b'x'; 98_305]));
    assert_eq!(
        refusal(put(four.clone()).await),
        (400, "InvalidArgumentException".to_owned())
    );
    assert!(
        delivered(&target, &bucket).await.is_empty(),
        "what is refused leaves nothing"
    );
    four[4] = record(vec![b'x'; 98_304]);
    assert_eq!(put(four).await.expect("taken").failed_put_count, 0);
    assert_eq!(
        put(vec![record("x"); 500]).await.expect("taken").failed_put_count,
        0
    );
    let unknown = target.firehose.put_record_batch().delivery_stream_name("unknown");
    let unknown = unknown.records(record("x")).send().await;
    assert_eq!(refusal(unknown), (400, "ResourceNotFoundException".to_owned()));
}

/// "Even if the PutRecordBatch call succeeds, the value of FailedPutCount may be greater than 0", and each
/// entry stands where its record stood.
#[tokio::test]
async fn a_part_of_a_call_can_fail_and_only_the_rest_is_delivered() {
    let target = Target::start_embedded(REGION).await;
    let (bucket, name) = stream(&target).await;
    let rule = Rule::on("firehose:PutRecordBatch")
        .resource_containing(&name)
        .times(1);
    target.cloud().faults().inject(rule.throttle_records(0.5));
    let lines: Vec<String> = (0..10).map(|n| format!("{n}\n")).collect();
    let put = target.firehose.put_record_batch().delivery_stream_name(&name);
    let put = put.set_records(Some(lines.iter().map(|line| record(line.as_str())).collect()));
    let answer = put.send().await.expect("answered");
    assert_eq!(answer.failed_put_count, 5);
    assert_eq!(answer.request_responses.len(), 10);
    let mut taken = String::new();
    for (line, result) in lines.iter().zip(&answer.request_responses) {
        match result.record_id() {
            Some(_) => taken.push_str(line),
            None => assert_eq!(result.error_code(), Some("ServiceUnavailableException")),
        }
    }
    assert_eq!(delivered(&target, &bucket).await[0].1, taken.into_bytes());

    target.cloud().faults().clear();
    target
        .cloud()
        .faults()
        .inject(Rule::on("firehose:PutRecordBatch").throttle());
    let put = target
        .firehose
        .put_record_batch()
        .delivery_stream_name(&name)
        .records(record("x"));
    assert_eq!(
        refusal(put.send().await),
        (500, "ServiceUnavailableException".to_owned())
    );
}

#[tokio::test]
async fn what_is_not_emulated_is_refused_by_name_and_streams_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || async {
        let cloud = LocalCloud::start(CloudSettings::in_folder(REGION, folder.path())).await;
        Target::embedded(cloud.expect("a free port"))
    };
    let target = open().await;
    let (_, name) = stream(&target).await;
    let without_bucket = target
        .firehose
        .create_delivery_stream()
        .delivery_stream_name("other");
    assert_eq!(
        refusal(Box::pin(without_bucket.send()).await),
        (400, "InvalidArgumentException".to_owned())
    );
    let tags = target
        .firehose
        .list_tags_for_delivery_stream()
        .delivery_stream_name(&name);
    assert_eq!(
        refusal(tags.send().await),
        (400, "UnknownOperationException".to_owned())
    );
    target.stop().await;

    let target = open().await;
    let put = target
        .firehose
        .put_record()
        .delivery_stream_name(&name)
        .record(record("again"));
    put.send().await.expect("still there");
    target.stop().await;
}
