use super::*;
use crate::environment;

const CONFIG: &str = r"
[default]
region = eu-west-3
[profile keys]
aws_access_key_id = a
aws_secret_access_key = b
ca_bundle = /etc/company.pem
[profile deploy]
role_arn = arn:aws:iam::123456789012:role/deploy
source_profile = keys
[profile coded]
role_arn = arn:aws:iam::123456789012:role/deploy
source_profile = keys
mfa_serial = arn:aws:iam::123456789012:mfa/me
[profile over-coded]
role_arn = arn:aws:iam::123456789012:role/other
source_profile = coded
[profile lost]
role_arn = arn:aws:iam::123456789012:role/deploy
source_profile = gone
[profile session]
sso_session = company
sso_account_id = 123456789012
sso_role_name = Admin
[profile half-session]
sso_session = company
[profile self]
role_arn = arn:aws:iam::123456789012:role/deploy
source_profile = self
[profile self-with-keys]
role_arn = arn:aws:iam::123456789012:role/deploy
source_profile = self-with-keys
aws_access_key_id = a
aws_secret_access_key = b
[profile ring]
role_arn = arn:aws:iam::123456789012:role/deploy
source_profile = ring-2
[profile ring-2]
role_arn = arn:aws:iam::123456789012:role/deploy
source_profile = ring
[profile no-source]
role_arn = arn:aws:iam::123456789012:role/deploy
[profile over-bare]
role_arn = arn:aws:iam::123456789012:role/deploy
source_profile = bare
[profile half-keys]
aws_access_key_id = a
[profile empty-secret]
aws_access_key_id = a
aws_secret_access_key =
[profile secret]
aws_secret_access_key = b
[profile gone-session]
sso_session = gone
sso_account_id = 123456789012
sso_role_name = Admin
[profile no-start]
sso_region = eu-west-3
sso_account_id = 123456789012
sso_role_name = Admin
[profile half-section]
sso_session = half
sso_account_id = 123456789012
sso_role_name = Admin
[sso-session half]
sso_region = eu-west-3
[sso-session company]
sso_region = eu-west-3
sso_start_url = https://company.awsapps.com/start
[profile program]
credential_process = /usr/bin/vault
[profile console]
login_session = arn:aws:iam::123456789012:user/me
[profile bare]
region = eu-west-3
[profile local]
aws_access_key_id = a
aws_secret_access_key = b
services = local
endpoint_url = http://all.test
[services local]
s3 =
  endpoint_url = http://s3.test
secrets_manager =
  endpoint_url = http://secrets.test
cloudwatch-logs =
  endpoint_url = http://logs.test
[services wrong]
s3 =
  endpoint_url = nowhere
[profile wrong-section]
aws_access_key_id = a
aws_secret_access_key = b
services = wrong
[profile wrong-endpoint]
aws_access_key_id = a
aws_secret_access_key = b
endpoint_url = nowhere
";

/// The settings of an environment with this text as `~/.aws/config`.
async fn read(config: &str, variables: &[(&str, &str)]) -> Result<Settings, ConnectError> {
    let home = tempfile::tempdir().unwrap();
    tokio::fs::create_dir(home.path().join(".aws")).await.unwrap();
    tokio::fs::write(home.path().join(".aws/config"), config).await.unwrap();
    let environment = environment::of(variables).with("HOME", home.path().to_str().unwrap());
    Settings::read(&environment).await
}

#[tokio::test]
async fn the_source_of_credentials_is_that_of_the_chosen_profile() {
    let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    for (variables, origin, base) in [
        (vec![], Origin::Elsewhere, "default"),
        (vec![("AWS_PROFILE", "")], Origin::Elsewhere, "default"),
        (vec![("AWS_PROFILE", "keys")], Origin::Keys, "keys"),
        (vec![("AWS_DEFAULT_PROFILE", "keys")], Origin::Keys, "keys"),
        (vec![("AWS_PROFILE", "session"), ("AWS_DEFAULT_PROFILE", "keys")], Origin::Sso, "session"),
        (vec![("AWS_PROFILE", "deploy")], Origin::Keys, "keys"),
        (vec![("AWS_PROFILE", "program")], Origin::Process, "program"),
        (vec![("AWS_PROFILE", "self-with-keys")], Origin::Keys, "self-with-keys"),
        (vec![("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", " ")], Origin::Elsewhere, "default"),
        (vec![("AWS_PROFILE", "keys"), keys[1]], Origin::Keys, "keys"),
        (vec![("AWS_PROFILE", "keys"), keys[0], keys[1]], Origin::Environment, "keys"),
        (vec![("AWS_PROFILE", "coded"), keys[0], keys[1]], Origin::Environment, "coded"),
        (vec![("AWS_PROFILE", "keys"), ("AWS_ACCESS_KEY_ID", ""), keys[1]], Origin::Keys, "keys"),
    ] {
        let source = read(CONFIG, &variables).await.unwrap().source;
        assert_eq!((source.origin, source.base.as_str()), (origin, base), "{variables:?}");
    }
}

#[tokio::test]
async fn a_named_profile_without_usable_credentials_is_an_error() {
    let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    for (variables, says, helps) in [
        (vec![("AWS_PROFILE", "depoly")], "`depoly`", "did you mean `deploy`?"),
        (vec![("AWS_DEFAULT_PROFILE", "zzz")], "`AWS_DEFAULT_PROFILE` names the profile `zzz`", "there are `bare`"),
        (vec![("AWS_PROFILE", "depoly"), keys[0], keys[1]], "`depoly`", "`deploy`"),
        (vec![("AWS_PROFILE", "bare")], "`bare` has no credentials", "unset `AWS_PROFILE`"),
        (
            vec![("AWS_PROFILE", "half-session")],
            "`half-session` has a session of IAM Identity Center, but no `sso_account_id`",
            "",
        ),
        (vec![("AWS_PROFILE", "lost")], "`source_profile` of the profile `lost` is `gone`", "`source_profile`"),
        (vec![("AWS_PROFILE", "coded")], "`mfa_serial` of `coded`", "export-credentials --profile coded"),
        (vec![("AWS_PROFILE", "over-coded")], "`mfa_serial` of `coded`", "export-credentials --profile over-coded"),
        (vec![("AWS_PROFILE", "console")], "`aws login`", "export-credentials --profile console"),
    ] {
        let error = read(CONFIG, &variables).await.unwrap_err();
        let help = error.help().unwrap();
        assert!(error.to_string().contains(says) && help.contains(helps), "{variables:?}: {error} / {help}");
    }
}

/// The machine's identity never replaces incomplete credentials of a profile or of the environment.
#[tokio::test]
async fn incomplete_credentials_are_an_error_that_names_the_missing_part() {
    let [id, secret] = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    for (variables, says, helps) in [
        (vec![("AWS_PROFILE", "self")], "`self` has itself as `source_profile`", "profile `self`"),
        (vec![("AWS_PROFILE", "ring")], "`ring-2` has a cycle: its `source_profile` is `ring`", "profile `ring-2`"),
        (vec![("AWS_PROFILE", "no-source")], "neither `source_profile` nor `credential_source`", ""),
        (
            vec![("AWS_PROFILE", "over-bare")],
            "`bare` has no credentials, but is the `source_profile` of `over-bare`",
            "",
        ),
        (vec![("AWS_PROFILE", "half-keys")], "no `aws_secret_access_key`", "profile `half-keys`"),
        (vec![("AWS_PROFILE", "empty-secret")], "no `aws_secret_access_key`", ""),
        (vec![("AWS_PROFILE", "secret")], "no `aws_access_key_id`", ""),
        (vec![("AWS_PROFILE", "gone-session")], "there is no section `[sso-session gone]`", "`gone-session`"),
        (vec![("AWS_PROFILE", "no-start")], "no `sso_start_url`", ""),
        (vec![("AWS_PROFILE", "half-section")], "`[sso-session half]` has no `sso_start_url`", ""),
        (vec![id], "`AWS_ACCESS_KEY_ID` is set, but `AWS_SECRET_ACCESS_KEY`", "set `AWS_SECRET_ACCESS_KEY`"),
        (vec![id, ("AWS_SECRET_ACCESS_KEY", "")], "`AWS_SECRET_ACCESS_KEY`", "unset `AWS_ACCESS_KEY_ID`"),
        (vec![id, ("AWS_SECRET_ACCESS_KEY", " ")], "`AWS_SECRET_ACCESS_KEY`", "unset `AWS_ACCESS_KEY_ID`"),
        (vec![id, ("AWS_PROFILE", "keys")], "`AWS_SECRET_ACCESS_KEY`", "unset `AWS_ACCESS_KEY_ID`"),
        (vec![secret], "`AWS_SECRET_ACCESS_KEY` is set, but `AWS_ACCESS_KEY_ID`", "set `AWS_ACCESS_KEY_ID`"),
        (vec![("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")], "`AWS_WEB_IDENTITY_TOKEN_FILE` is set, but `AWS_ROLE_ARN`", ""),
    ] {
        let error = read(CONFIG, &variables).await.unwrap_err();
        let help = error.help().unwrap();
        assert!(error.to_string().contains(says) && help.contains(helps), "{variables:?}: {error} / {help}");
    }
    let over_environment = "[default]\nrole_arn = arn:aws:iam::123456789012:role/x\ncredential_source = Environment\n";
    let over_container = over_environment.replace("Environment", "EcsContainer");
    let own = "[default]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = default\n";
    for config in [
        own,
        over_environment,
        &over_container,
        "[default]\nsource_profile = a\n[profile a]\n",
        "[default]\nsso_session = x\n",
        "[default]\naws_access_key_id =\n",
    ] {
        let error = read(config, &[]).await.unwrap_err();
        assert!(
            matches!(&error, ConnectError::Incomplete { profile, .. } if profile == "default"),
            "{config}: {error}"
        );
    }
}

#[tokio::test]
async fn a_broken_file_is_named_with_its_line() {
    let error = read("[default]\nregion = eu-west-3\nnonsense\n", &[]).await.unwrap_err().to_string();
    assert!(error.starts_with("line 3 of `") && error.contains(".aws/config`"), "{error}");
    assert!(!error.contains('\n'), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let credentials = folder.path().join("credentials");
    tokio::fs::write(&credentials, "nonsense\n").await.unwrap();
    let error = read("", &[("AWS_SHARED_CREDENTIALS_FILE", credentials.to_str().unwrap())]).await.unwrap_err();
    assert!(error.help().is_some_and(|help| help.contains("`AWS_SHARED_CREDENTIALS_FILE`")), "{error}");
    let error = read("", &[("AWS_CONFIG_FILE", folder.path().to_str().unwrap())]).await.unwrap_err();
    assert!(matches!(error, ConnectError::ConfigFile { .. }), "{error}");
}

#[tokio::test]
async fn endpoints_come_from_variables_sections_and_profiles_in_this_order() {
    let read = async |more: &[(&str, &str)]| {
        let endpoints = read(CONFIG, &[&[("AWS_PROFILE", "local")], more].concat()).await.unwrap().endpoints;
        ["S3", "Secrets Manager", "CloudWatch Logs", "EC2"].map(|service| endpoints.of(service).map(str::to_owned))
    };
    let urls = |urls: [&str; 4]| urls.map(|url| Some(url.to_owned()));
    assert_eq!(read(&[]).await, urls(["http://s3.test", "http://secrets.test", "http://logs.test", "http://all.test"]));
    assert_eq!(
        read(&[("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://x.test"), ("AWS_ENDPOINT_URL", "")]).await,
        urls(["http://s3.test", "http://x.test", "http://logs.test", "http://all.test"])
    );
    assert_eq!(read(&[("AWS_ENDPOINT_URL", "http://x.test")]).await, urls(["http://x.test"; 4]));
    assert_eq!(read(&[("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")]).await, [const { None }; 4]);
}

#[tokio::test]
async fn an_invalid_endpoint_is_refused_with_its_origin() {
    for (variables, says) in [
        (vec![("AWS_ENDPOINT_URL", "garbage")], "`AWS_ENDPOINT_URL` is `garbage`"),
        (vec![("AWS_ENDPOINT_URL_S3", "ftp://x")], "`AWS_ENDPOINT_URL_S3` is `ftp://x`"),
        (
            vec![("AWS_ENDPOINT_URL", "http://x.test"), ("AWS_USE_FIPS_ENDPOINT", "true")],
            "`AWS_USE_FIPS_ENDPOINT` selects AWS's own endpoints, but `AWS_ENDPOINT_URL` sets another one",
        ),
        (vec![("AWS_PROFILE", "wrong-section")], "`endpoint_url` in the section `[services wrong]` is `nowhere`"),
        (vec![("AWS_PROFILE", "wrong-endpoint")], "`endpoint_url` of the profile `wrong-endpoint` is `nowhere`"),
    ] {
        let error = read(CONFIG, &variables).await.unwrap_err();
        assert!(error.to_string().starts_with(says) && error.help().is_some(), "{error}");
    }
}

#[tokio::test]
async fn authorities_are_named_by_the_variable_or_the_profile() {
    let bundle = async |variables: &[(&str, &str)]| {
        read(CONFIG, variables).await.unwrap().bundle.map(|bundle| (bundle.path, bundle.named_by))
    };
    assert_eq!(bundle(&[("AWS_CA_BUNDLE", "")]).await, None);
    assert_eq!(
        bundle(&[("AWS_PROFILE", "keys")]).await.unwrap(),
        ("/etc/company.pem".to_owned(), "`ca_bundle` of the profile `keys`".to_owned())
    );
    let both = [("AWS_PROFILE", "keys"), ("AWS_CA_BUNDLE", "/other.pem")];
    assert_eq!(bundle(&both).await.unwrap(), ("/other.pem".to_owned(), "`AWS_CA_BUNDLE`".to_owned()));
}
