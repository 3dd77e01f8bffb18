//! The interface of one kind of resource in AWS: how it is read, which stack owns it, and how it is created, changed
//! and deleted.
//!
//! Each file in `kinds/` implements [`Driver`]. `observe.rs` and the provider use [`DRIVERS`](crate::kinds::DRIVERS)
//! and know no kind by name; they see every driver as an [`AnyDriver`].

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, ready, try_join_all},
};
use serde::{Serialize, de::DeserializeOwned};
use trunnion_engine::{Address, Map, ProviderError, Remote, Resolved, Rules, Token, differences, to_map};

use crate::{
    Aws, Connection,
    convert::{attribute, typed},
    error::Failure,
    reading::{Reading, Whose},
};

/// The result of one or several calls, as a future.
pub(crate) type Doing<'a, T> = BoxFuture<'a, Result<T, Failure>>;

/// One kind of resource in AWS.
///
/// Reading takes three round trips. The first calls [`list`](Self::list). In the second, [`detail`](Self::detail) adds
/// what the list leaves out, [`by_ids`](Self::by_ids) reads recorded ids that are not in the list, and
/// [`taken`](Self::taken) checks names that are about to be created. The third is for details that need two round
/// trips.
pub(crate) trait Driver: Sync + 'static {
    /// The kind's attributes.
    type Attributes: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// How the engine orders, compares and replaces resources of this kind.
    const RULES: Rules;
    /// The kind's name in messages, such as "the ECS cluster".
    const NOUN: &'static str;
    /// The attribute with the name that AWS identifies a resource by.
    const NAME: &'static str = "name";
    /// The kind that contains resources of this one. Only containers that the stack owns are searched.
    const INSIDE: Option<&'static str> = None;
    /// How many round trips [`detail`](Self::detail) takes.
    const ROUNDS: u32 = 0;
    /// Whether the list omits resources that lost their tags or moved to another path. Recorded ids that are not listed are
    /// then read by id.
    const LIST_MISSES: bool = false;

    /// Attributes that only a tag of ours says. Of a resource that lost its tags, the state says them.
    const ONLY_IN_TAGS: &'static [&'static str] = &[];

    /// Whether a resource that somebody else made can become one of the stack's, by its id.
    const IMPORTS: bool = false;

    /// Whether a resource counts as created only after a read by its id shows it whole. Otherwise the create itself reads as
    /// much as is needed.
    const READS_BACK: bool = false;

    /// Whether AWS can have given this id to a resource of the kind in the connection's account and region. A damaged
    /// state may have other ids, and AWS refuses a whole call because of one of them.
    fn can_exist(_id: &str, _connection: &Connection) -> bool {
        true
    }

    /// Everything that may belong to the stack, with the attributes that the call returns: at least the id.
    fn list(&self, _: &Reading<'_>) -> impl Future<Output = Result<Vec<Remote>, Failure>> + Send {
        ready(Ok(Vec::new()))
    }

    /// The same resources with all attributes; those deleted in the meantime are left out. A kind that is
    /// [inside](Self::INSIDE) another one gets the containers instead.
    fn detail(
        &self,
        _: &Reading<'_>,
        listed: Vec<Remote>,
    ) -> impl Future<Output = Result<Vec<Remote>, Failure>> + Send {
        ready(Ok(listed))
    }

    /// The existing resources among these ids, with all attributes, of any owner.
    fn by_ids(&self, _: &Aws, _: Vec<String>) -> impl Future<Output = Result<Vec<Remote>, Failure>> + Send {
        ready(Ok(Vec::new()))
    }

    /// Further ids to read if neither the list nor the state has the stack's resource.
    fn further(&self, _: &Reading<'_>) -> Vec<String> {
        Vec::new()
    }

    /// The owner and the address of a resource, from its tags or from the state that has its id.
    fn whose(&self, reading: &Reading<'_>, remote: &Remote) -> Whose {
        reading.by_tags(Self::RULES.kind, remote)
    }

    /// If there are several at one address, the one with the highest rank is the current one; of equal ranks, the one
    /// with the lowest id.
    fn rank(&self, _wanted: Option<&Map>, _: &Remote) -> u64 {
        0
    }

    /// The names to create whose owner the list cannot show.
    fn to_ask(&self, _: &Reading<'_>, _listed: &[Remote]) -> Vec<Wanted> {
        Vec::new()
    }

    /// Which of these names belong to somebody else.
    fn taken(&self, _: &Reading<'_>, _: Vec<Wanted>) -> impl Future<Output = Result<Vec<Wanted>, Failure>> + Send {
        ready(Ok(Vec::new()))
    }

    /// Creates a resource. If an earlier attempt created it, it is found and changed to match.
    fn create(
        &self,
        aws: &Aws,
        wanted: Self::Attributes,
        token: &Token,
    ) -> impl Future<Output = Result<Remote, Failure>> + Send;

    /// Changes the attributes at `paths` in place.
    fn update(
        &self,
        aws: &Aws,
        remote: &Remote,
        wanted: Self::Attributes,
        paths: &[String],
    ) -> impl Future<Output = Result<Remote, Failure>> + Send;

    /// Deletes a resource; one that does not exist counts as deleted.
    fn delete(&self, aws: &Aws, remote: &Remote) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Creates several resources, with one future for each. The default makes one call per resource, for services that
    /// accept no list.
    fn create_all<'a>(&'a self, aws: &'a Aws, items: Vec<(Self::Attributes, Token)>) -> Vec<Doing<'a, Remote>> {
        let create = |(wanted, token)| async move { self.create(aws, wanted, &token).await }.boxed();
        items.into_iter().map(create).collect()
    }

    /// Changes several resources, with one future for each.
    fn update_all<'a>(
        &'a self,
        aws: &'a Aws,
        items: Vec<(Remote, Self::Attributes, Vec<String>)>,
    ) -> Vec<Doing<'a, Remote>> {
        let update = |(remote, wanted, paths): (Remote, _, Vec<_>)| {
            async move { self.update(aws, &remote, wanted, &paths).await }.boxed()
        };
        items.into_iter().map(update).collect()
    }

    /// Deletes several resources, with one future for each.
    fn delete_all<'a>(&'a self, aws: &'a Aws, items: Vec<Remote>) -> Vec<Doing<'a, ()>> {
        let delete = |remote| async move { self.delete(aws, &remote).await }.boxed();
        items.into_iter().map(delete).collect()
    }

    /// Changes an existing resource that a create found, so that it matches. Differences that the kind's rules tolerate
    /// stay.
    fn adopt(
        &self,
        aws: &Aws,
        found: &Remote,
        wanted: Self::Attributes,
    ) -> impl Future<Output = Result<Remote, Failure>> + Send {
        async move {
            let paths = differing(&Self::RULES, &wanted, found)?;
            self.update(aws, found, wanted, &paths).await
        }
    }

    /// The error if a create finds a resource of somebody else.
    fn foreign(name: &str) -> Failure {
        let failure = Failure::foreign(Self::NOUN, name);
        let help = failure.help.map(|help| {
            if Self::IMPORTS { format!("{help}; to make it the stack's, use `trunnion import`") } else { help }
        });
        Failure { help, ..failure }
    }
}

/// The paths of attributes that differ from the wanted ones, by the kind's rules.
pub(crate) fn differing(rules: &Rules, wanted: &impl Serialize, found: &Remote) -> Result<Vec<String>, Failure> {
    let wanted = to_map(wanted).map_err(|error| Failure::own(error.to_string(), None))?;
    Ok(differences(rules, &wanted, &found.attributes).into_iter().map(|difference| difference.path).collect())
}

/// Shares one call among the items of a list: each item's future ends with the call.
pub(crate) fn one_call<'a, T: Clone + Send + Sync + 'a>(
    call: impl Future<Output = Result<T, Failure>> + Send + 'a,
) -> Shared<Doing<'a, T>> {
    call.boxed().shared()
}

/// Makes several calls at the same time and collects what they find.
pub(crate) async fn all<T, F: Future<Output = Result<Option<T>, Failure>> + Send>(
    calls: impl Iterator<Item = F>,
) -> Result<Vec<T>, Failure> {
    Ok(try_join_all(calls.map(Box::pin)).await?.into_iter().flatten().collect())
}

/// A name that the stack wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The resource that wants it.
    pub address: Address,
    /// The name.
    pub name: String,
}

/// [`Driver`] without its types, so that all drivers can be in one list.
pub(crate) trait AnyDriver: Sync {
    fn rules(&self) -> Rules;
    fn name_of<'m>(&self, attributes: &'m Map) -> &'m str;
    fn inside(&self) -> Option<&'static str>;
    fn rounds(&self) -> u32;
    fn list_misses(&self) -> bool;
    fn only_in_tags(&self) -> &'static [&'static str];
    fn imports(&self) -> bool;
    fn can_exist(&self, id: &str, connection: &Connection) -> bool;
    fn list<'a>(&'a self, reading: &'a Reading<'a>) -> Doing<'a, Vec<Remote>>;
    fn detail<'a>(&'a self, reading: &'a Reading<'a>, listed: Vec<Remote>) -> Doing<'a, Vec<Remote>>;
    fn by_ids<'a>(&'a self, aws: &'a Aws, ids: Vec<String>) -> Doing<'a, Vec<Remote>>;
    fn further(&self, reading: &Reading<'_>) -> Vec<String>;
    fn whose(&self, reading: &Reading<'_>, remote: &Remote) -> Whose;
    fn rank(&self, wanted: Option<&Map>, remote: &Remote) -> u64;
    fn to_ask(&self, reading: &Reading<'_>, listed: &[Remote]) -> Vec<Wanted>;
    fn taken<'a>(&'a self, reading: &'a Reading<'a>, names: Vec<Wanted>) -> Doing<'a, Vec<Wanted>>;
    fn foreign(&self, wanted: &Wanted) -> ProviderError;
    fn create_all<'a>(&'a self, aws: &'a Aws, items: Vec<(Resolved, Token)>) -> Vec<Doing<'a, Remote>>;
    fn update_all<'a>(&'a self, aws: &'a Aws, items: Vec<(Remote, Resolved, Vec<String>)>) -> Vec<Doing<'a, Remote>>;
    fn delete_all<'a>(&'a self, aws: &'a Aws, items: Vec<Remote>) -> Vec<Doing<'a, ()>>;
}

impl<D: Driver> AnyDriver for D {
    fn rules(&self) -> Rules {
        D::RULES
    }

    fn name_of<'m>(&self, attributes: &'m Map) -> &'m str {
        attribute(attributes, D::NAME)
    }

    fn inside(&self) -> Option<&'static str> {
        D::INSIDE
    }

    fn rounds(&self) -> u32 {
        D::ROUNDS
    }

    fn list_misses(&self) -> bool {
        D::LIST_MISSES
    }

    fn only_in_tags(&self) -> &'static [&'static str] {
        D::ONLY_IN_TAGS
    }

    fn imports(&self) -> bool {
        D::IMPORTS
    }

    fn can_exist(&self, id: &str, connection: &Connection) -> bool {
        D::can_exist(id, connection)
    }

    fn list<'a>(&'a self, reading: &'a Reading<'a>) -> Doing<'a, Vec<Remote>> {
        Driver::list(self, reading).boxed()
    }

    fn detail<'a>(&'a self, reading: &'a Reading<'a>, listed: Vec<Remote>) -> Doing<'a, Vec<Remote>> {
        Driver::detail(self, reading, listed).boxed()
    }

    fn by_ids<'a>(&'a self, aws: &'a Aws, ids: Vec<String>) -> Doing<'a, Vec<Remote>> {
        Driver::by_ids(self, aws, ids).boxed()
    }

    fn further(&self, reading: &Reading<'_>) -> Vec<String> {
        Driver::further(self, reading)
    }

    fn whose(&self, reading: &Reading<'_>, remote: &Remote) -> Whose {
        Driver::whose(self, reading, remote)
    }

    fn rank(&self, wanted: Option<&Map>, remote: &Remote) -> u64 {
        Driver::rank(self, wanted, remote)
    }

    fn to_ask(&self, reading: &Reading<'_>, listed: &[Remote]) -> Vec<Wanted> {
        Driver::to_ask(self, reading, listed)
    }

    fn taken<'a>(&'a self, reading: &'a Reading<'a>, names: Vec<Wanted>) -> Doing<'a, Vec<Wanted>> {
        Driver::taken(self, reading, names).boxed()
    }

    fn foreign(&self, wanted: &Wanted) -> ProviderError {
        <D as Driver>::foreign(&wanted.name).about(&format!("`{}`", wanted.address))
    }

    fn create_all<'a>(&'a self, aws: &'a Aws, items: Vec<(Resolved, Token)>) -> Vec<Doing<'a, Remote>> {
        let decoded = items.into_iter().map(|(resource, token)| Ok((typed(&resource.attributes)?, token)));
        let created = each(decoded, |items| Driver::create_all(self, aws, items));
        if !D::READS_BACK {
            return created;
        }
        let read_back = |doing: Doing<'a, Remote>| async move { shown(self, aws, doing.await?).await }.boxed();
        created.into_iter().map(read_back).collect()
    }

    fn update_all<'a>(&'a self, aws: &'a Aws, items: Vec<(Remote, Resolved, Vec<String>)>) -> Vec<Doing<'a, Remote>> {
        let decoded =
            items.into_iter().map(|(remote, resource, paths)| Ok((remote, typed(&resource.attributes)?, paths)));
        each(decoded, |items| Driver::update_all(self, aws, items))
    }

    fn delete_all<'a>(&'a self, aws: &'a Aws, items: Vec<Remote>) -> Vec<Doing<'a, ()>> {
        Driver::delete_all(self, aws, items)
    }
}

/// A new resource once a read by its id shows it as it was created, so that the next plan finds it.
async fn shown<D: Driver>(driver: &D, aws: &Aws, made: Remote) -> Result<Remote, Failure> {
    let read = || async {
        let seen = driver.by_ids(aws, vec![made.id.clone()]).await?;
        Ok(seen.into_iter().find(|seen| seen.id == made.id))
    };
    let is_whole = |seen: &Remote| differences(&D::RULES, &made.attributes, &seen.attributes).is_empty();
    let whole = aws.until_seen(|| async { Ok(read().await?.filter(is_whole)) }).await?;
    // If it is still another one, somebody else changed it: the next plan shows that.
    if whole.is_none() && read().await?.is_none() {
        let help = "run the same command again: the plan finds what was created".to_owned();
        return Err(Failure::own(format!("AWS does not show `{}`", made.id), help));
    }
    Ok(made)
}

/// Passes all decodable items on as one list; each of the others fails on its own.
fn each<'a, T, R: Send + 'a>(
    decoded: impl Iterator<Item = Result<T, Failure>>,
    call: impl FnOnce(Vec<T>) -> Vec<Doing<'a, R>>,
) -> Vec<Doing<'a, R>> {
    let (mut items, mut failures) = (Vec::new(), Vec::new());
    for item in decoded {
        let failure = item.map(|item| items.push(item)).err();
        failures.push(failure);
    }
    let mut called = call(items).into_iter();
    let missing = || Failure::own("the list of calls is shorter than the list of resources", None);
    let doing = |failure: Option<Failure>| match failure {
        Some(failure) => ready(Err(failure)).boxed(),
        None => called.next().unwrap_or_else(|| ready(Err(missing())).boxed()),
    };
    failures.into_iter().map(doing).collect()
}
