"""Commands of the AWS CLI, read as the AWS CLI reads them."""
