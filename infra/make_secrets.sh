#!/bin/sh
# Makes, once, what docker-compose.yml mounts as secrets: a file each in secrets/, which git and the image leave out.
set -eu
cd "$(dirname "$0")/.."
if [ -e secrets ]; then
    echo "secrets/ exists and stays as it is: the database was made with these passwords." >&2
    exit 0
fi

password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
address() { echo "postgresql://$1:$(password)@postgres:5432/claimpath"; }

# Compose mounts a file with the mode it has, and a container's user is not ours: every user may read the files, but
# only we may enter their folder.
umask 022
rm -rf secrets.new
mkdir -m 700 secrets.new
echo '*' >secrets.new/.gitignore
password >secrets.new/postgres_password
address claimpath_owner >secrets.new/owner_database_url
address claimpath_tracker_login >secrets.new/tracker_database_url
address claimpath_api_login >secrets.new/api_database_url
password >secrets.new/api_token
password >secrets.new/intake_token
mv secrets.new secrets
