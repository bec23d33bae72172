//! `DeleteObject` and `DeleteObjects`.

use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject,
    ETagCondition, Error as DeleteError, ObjectIdentifier,
};
use s3s::{S3Result, s3_error};

use super::Backend;
use super::commit::Deleted;
use super::condition::WriteCondition;

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
const KEYS_MAX: usize = 1000;

impl Backend {
    pub(super) fn delete_object(&self, input: DeleteObjectInput) -> S3Result<DeleteObjectOutput> {
        if input.if_match_size.is_some() || input.if_match_last_modified_time.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "local-cloud has no conditions of directory buckets"
            ));
        }
        let condition = WriteCondition::new(input.if_match, None)?;
        let deleted = self.delete(&input.bucket, &input.key, input.version_id.as_deref(), &condition)?;
        Ok(DeleteObjectOutput {
            delete_marker: deleted.delete_marker.then_some(true),
            version_id: deleted.version_id,
            ..DeleteObjectOutput::default()
        })
    }

    /// Each key on its own; one that fails does not keep the others from being deleted.
    pub(super) fn delete_objects(&self, input: DeleteObjectsInput) -> S3Result<DeleteObjectsOutput> {
        let quiet = input.delete.quiet == Some(true);
        if input.delete.objects.is_empty() || input.delete.objects.len() > KEYS_MAX {
            return Err(s3_error!(
                MalformedXML,
                "One request deletes 1 to {KEYS_MAX} keys"
            ));
        }
        self.lock().bucket(&input.bucket)?;
        let (mut done, mut errors) = (Vec::new(), Vec::new());
        for object in input.delete.objects {
            match self.delete_identified(&input.bucket, &object) {
                Ok(deleted) => done.push(deleted_object(object, deleted)),
                Err(error) => errors.push(DeleteError {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(object.key),
                    message: error.message().map(str::to_owned),
                    version_id: object.version_id,
                }),
            }
        }
        Ok(DeleteObjectsOutput {
            deleted: (!quiet).then_some(done),
            errors: Some(errors),
            ..DeleteObjectsOutput::default()
        })
    }

    fn delete_identified(&self, bucket: &str, object: &ObjectIdentifier) -> S3Result<Deleted> {
        let condition = WriteCondition::new(object.e_tag.clone().map(ETagCondition::ETag), None)?;
        self.delete(bucket, &object.key, object.version_id.as_deref(), &condition)
    }
}

fn deleted_object(object: ObjectIdentifier, deleted: Deleted) -> DeletedObject {
    DeletedObject {
        delete_marker: deleted.delete_marker.then_some(true),
        delete_marker_version_id: deleted.version_id.filter(|_| deleted.delete_marker),
        key: Some(object.key),
        version_id: object.version_id,
    }
}
