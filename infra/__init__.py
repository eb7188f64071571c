"""What claimpath stands on: embedded servers, migrations, monitoring rules, the image; it knows nothing of claims."""
