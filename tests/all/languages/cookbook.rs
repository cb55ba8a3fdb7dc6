//! The policies of the cookbook, by their own cases.

use std::fs;
use std::path::{Path, PathBuf};

use super::project::{Workshop, root};
use crate::common::{data, run, talk};

/// A recipe's source, where it goes in a project, and the project's language.
const SOURCES: [(&str, &str, &str); 6] = [
    ("lib.rs", "src/lib.rs", "rust"),
    ("policy.c", "policy.c", "c"),
    ("policy.go", "policy.go", "go"),
    ("policy.py", "policy.py", "python"),
    ("policy.js", "policy.js", "javascript"),
    ("policy.ts", "policy.ts", "typescript"),
];

/// The folders of the cookbook.
fn recipes() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("policies/cookbook")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut recipes: Vec<PathBuf> = paths.filter(|path| path.is_dir()).collect();
    recipes.sort();
    recipes
}

fn passes(policy: &str, recipe: &Path) {
    let cases = recipe.join("cases.toml");
    let done = run(&["policy", "test", policy, cases.to_str().unwrap()]);
    assert!(done.status.success(), "{}{}", data(&done), talk(&done));
    let told = data(&done);
    assert!(told.lines().count() >= 3, "{told}");
}

/// Builds the recipe of a language in a new project, and runs its cases.
fn cooked(language: &'static str) {
    let Some(workshop) = Workshop::with_tools(language) else {
        return;
    };
    let (source, place, _) = SOURCES.iter().find(|(_, _, of)| *of == language).unwrap();
    let recipes = recipes().into_iter();
    let of_language: Vec<_> = recipes.filter(|one| one.join(source).exists()).collect();
    assert!(
        !of_language.is_empty(),
        "the cookbook has none in {language}"
    );
    for recipe in of_language {
        fs::copy(recipe.join(source), workshop.dir().join(place)).unwrap();
        workshop.build();
        passes(workshop.component().to_str().unwrap(), &recipe);
    }
}

#[test]
fn each_recipe_of_rules_passes_its_cases() {
    let mut tried = 0;
    for recipe in recipes() {
        let sources = SOURCES
            .iter()
            .filter(|(source, ..)| recipe.join(source).exists());
        match sources.count() {
            0 => {
                passes("built-in:rules", &recipe);
                tried += 1;
            }
            1 => {}
            _ => panic!("{} has several sources", recipe.display()),
        }
    }
    assert!(tried >= 4, "{tried}");
}

#[test]
fn the_recipe_in_rust_passes_its_cases() {
    cooked("rust");
}

#[test]
fn the_recipe_in_c_passes_its_cases() {
    cooked("c");
}

#[test]
fn the_recipe_in_go_passes_its_cases() {
    cooked("go");
}

#[test]
fn the_recipe_in_python_passes_its_cases() {
    cooked("python");
}

#[test]
fn the_recipe_in_javascript_passes_its_cases() {
    cooked("javascript");
}

#[test]
fn the_recipe_in_typescript_passes_its_cases() {
    cooked("typescript");
}
